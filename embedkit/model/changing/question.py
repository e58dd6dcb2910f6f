"""A causal language model that is asked whether a document answers a query, as a chat template and two tokens.

sentence-transformers renders a pair by the tokenizer's chat template, with a message of role `query` and one of role
`document`, writes back what follows them where a pair was cut, and reads the logits behind the last token (its
`LogitScore`). All of it is saved with the model: `CrossEncoder(path)` needs nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from embedkit.errors import RecipeError
from embedkit.model.reading.templates import first_special_tokens, literal, special_ids

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

    from embedkit.recipe.model import Question

WHERE = "model.question"
_SAMPLES = (("a", "b"), ("is it 7 o'clock?", "It is 7."), ("x y", "y"))


def is_asked(model: CrossEncoder) -> bool:
    """Whether the model's score is the logit of an answer."""
    return any(hasattr(module, "true_token_id") for module in model)


def ask(model: CrossEncoder, question: Question) -> None:
    """Make a causal model answer `question` about every pair.

    Raises:
        RecipeError: an answer is not one token, both are the same, or the tokenizer would not give the tokens of the
            question written out.
    """
    from sentence_transformers.base.modality import InputFormatter

    transformer: Any = model[0]
    tokenizer = transformer.tokenizer
    yes = _token(tokenizer, question.yes, "yes")
    no = None if question.no is None else _token(tokenizer, question.no, "no")
    if yes == no:
        raise RecipeError("yes and no are the same token", f"{WHERE}.no", "choose another word")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    _set_template(tokenizer, question)
    transformer.modality_config["message"] = {**transformer.modality_config["text"], "format": "flat"}
    transformer.input_formatter = InputFormatter(
        model_type=transformer.config.model_type,
        message_format="flat",
        processor=transformer.processor,
        supported_modalities=list(transformer.modality_config),
    )
    transformer._chat_template_suffix_cache.clear()
    for module in model:
        if hasattr(module, "true_token_id"):
            module.true_token_id, module.false_token_id = yes, no


def _token(tokenizer: Any, word: str, key: str) -> int:
    ids = tokenizer(word, add_special_tokens=False)["input_ids"]
    unknown = getattr(tokenizer, "unk_token_id", None)
    if len(ids) != 1 or ids[0] == unknown:
        found = f"{len(ids)} tokens" if len(ids) != 1 else "unknown"
        what = f"the answer {word!r} is {found} to this tokenizer, and its logit is read at one"
        raise RecipeError(what, f"{WHERE}.{key}", "choose a word that is one token, with or without a space before it")
    return int(ids[0])


def _set_template(tokenizer: Any, question: Question) -> None:
    first = first_special_tokens(tokenizer)
    for gap in ("", " "):  # a word after a special token is tokenised otherwise than at the start by some
        tokenizer.chat_template = jinja(question, first + gap)
        if all(_faithful(tokenizer, question, *pair) for pair in _SAMPLES):
            return
    what = "this tokenizer gives other tokens for the filled question than for the same text written out"
    raise RecipeError(what, f"{WHERE}.text", "change its beginning, e.g. start it with a letter")


def jinja(question: Question, first: str = "") -> str:
    """The question as a chat template of messages with the roles `query` and `document`, behind `first`."""
    before, rest = question.text.split("{query}")
    between, after = rest.split("{document}")
    asked, read = (
        f"{{{{ messages | selectattr('role', 'equalto', '{role}') | map(attribute='content') | first }}}}"
        for role in ("query", "document")
    )
    parts = [f"{{{{ {literal(first + before)} }}}}", asked, f"{{{{ {literal(between)} }}}}", read]
    return "".join([*parts, f"{{{{ {literal(after)} }}}}"])


def _faithful(tokenizer: Any, question: Question, query: str, document: str) -> bool:
    message = [{"role": "query", "content": query}, {"role": "document", "content": document}]
    found = tokenizer.apply_chat_template(message, tokenize=True, return_dict=True)["input_ids"]
    text = question.text.replace("{query}", query).replace("{document}", document)
    return list(found) == [*special_ids(tokenizer), *tokenizer(text, add_special_tokens=False)["input_ids"]]
