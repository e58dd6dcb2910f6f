"""Words around every input, e.g. PromptEOL's (arXiv 2307.16645), as a chat template of the tokenizer.

sentence-transformers renders chat templates before it tokenises, keeps what stands after the content when a text
is cut, and saves them with the model: a saved folder needs nothing but `SentenceTransformer(path)`. The template
writes the tokenizer's own first special tokens (BOS) and none after the text, so no EOS is appended.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from embedkit.errors import RecipeError
from embedkit.foreign import showing
from embedkit.model.reading import probing

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from embedkit.recipe.schema import Template

logger = showing.logger(__name__)

MARK = "embedkit template"
RAW = {"clean": False}
"""What training hands to the template: texts stay as they are."""
_CLEAN = (
    "{% if clean | default(true) %}"
    "{% if text and text[-1] not in \".?\\\"'\" %}{% set text = text ~ '.' %}{% endif %}"
    "{% set text = text | replace('\"', \"'\") %}"
    "{% if text and text[-1] == '?' %}{% set text = text[:-1] ~ '.' %}{% endif %}"
    "{% endif %}"
)
_SAMPLES = ("A dog runs", "is it 7 o'clock?", "x")


def jinja(template: Template, first: str = "") -> str:
    """The template as Jinja: `first`, the role's prompt, demonstrations, the text in its place.

    A demonstration is the filled template, its word and ``".`` (as in the reference's run_icl.sh).
    """
    before, after = template.text.split("{text}")
    shown = "".join(f'{before}{d.text}{after}{d.word}".' for d in template.demonstrations)
    return (
        f"{{#- {MARK} -#}}"
        "{% set text = messages[-1]['content'] %}"
        + (_CLEAN if template.clean == "promptEOL" else "")
        + f"{{{{ {literal(first)} }}}}"
        + "{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] }}{% endif %}"
        + f"{{{{ {literal(shown + before)} ~ text ~ {literal(after)} }}}}"
    )


def literal(text: str) -> str:
    for character, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r")):
        text = text.replace(character, escaped)
    return f'"{text}"'


def set_template(st: SentenceTransformer, template: Template) -> None:
    """Make the model put `template` around every text, read its last token, and pad on the left.

    Padding stays on the right where the model counts positions from the padding (GPT-2): the last token's state
    is the same there, since later tokens are not seen.

    Raises:
        RecipeError: the tokenizer would not give the tokens of the written-out prompt.
    """
    from sentence_transformers.base.modality import InputFormatter

    transformer: Any = st[0]
    tokenizer = transformer.tokenizer
    first = first_special_tokens(tokenizer)
    for gap in ("", " "):  # a word after a special token is tokenised otherwise than at the start by some
        tokenizer.chat_template = jinja(template, first + gap)
        if all(_faithful(tokenizer, template, sample) for sample in _SAMPLES):
            break
    else:
        raise RecipeError(
            "this tokenizer gives other tokens for the filled template than for the same text written out",
            where="model.template",
            cure="change the beginning of the template, e.g. start it with a letter",
        )
    transformer.modality_config["message"] = {**transformer.modality_config["text"], "format": "flat"}
    transformer.input_formatter = InputFormatter(
        model_type=transformer.config.model_type,
        message_format="flat",
        processor=transformer.processor,
        supported_modalities=list(transformer.modality_config),
    )
    transformer._chat_template_suffix_cache.clear()
    left = _left_padding_is_harmless(transformer.auto_model)
    for name, side in (("truncation_side", "right"), ("padding_side", "left" if left else "right")):
        setattr(tokenizer, name, side)
        tokenizer.init_kwargs[name] = side  # what a tokenizer saves


def is_templated(st: SentenceTransformer) -> bool:
    """Whether the model has a template of ours."""
    written = getattr(st[0].tokenizer, "chat_template", None)
    return isinstance(written, str) and MARK in written


def words(st: SentenceTransformer) -> int:
    """Tokens that the template adds to a text; 0 without one."""
    if not is_templated(st):
        return 0
    return len(_ids(st[0].tokenizer, ""))


def before_text(st: SentenceTransformer) -> int:
    """Tokens that stand before every text, the same for all of them; 0 without a template."""
    if not is_templated(st):
        return 0
    rows = [_ids(st[0].tokenizer, text, **RAW) for text in _SAMPLES]
    return next((k for k, column in enumerate(zip(*rows, strict=False)) if len(set(column)) > 1), min(map(len, rows)))


def _ids(tokenizer: Any, text: str, **options: Any) -> list[int]:
    message = [{"role": "user", "content": text}]
    return list(tokenizer.apply_chat_template(message, tokenize=True, return_dict=True, **options)["input_ids"])


def first_special_tokens(tokenizer: Any) -> str:
    """Special tokens that the tokenizer puts before a text, as text."""
    return "".join(tokenizer.convert_ids_to_tokens(special_ids(tokenizer)))


def special_ids(tokenizer: Any) -> list[int]:
    with_, without = (tokenizer("a", add_special_tokens=add)["input_ids"] for add in (True, False))
    count = next((k for k in range(len(with_)) if with_[k : k + len(without)] == without), 0)
    return list(with_[:count])


def _faithful(tokenizer: Any, template: Template, text: str) -> bool:
    """Whether the chat template gives the tokens of the filled template behind the first special tokens."""
    message = [{"role": "user", "content": text}]
    filled = tokenizer.apply_chat_template(message, chat_template=jinja(template), tokenize=False, **RAW)
    written: Sequence[int] = tokenizer(filled, add_special_tokens=False)["input_ids"]
    return _ids(tokenizer, text, **RAW) == [*special_ids(tokenizer), *written]


def _left_padding_is_harmless(backbone: Any) -> bool:
    """Whether the last token's state is the same with padding on the left; not so with counted positions."""
    ids = probing.trial_ids(backbone, 8)
    mask = torch.ones_like(ids)
    mask[:, :3] = 0
    padded, alone = probing.states(backbone, ids, mask)[0, -1], probing.states(backbone, ids[:, 3:])[0, -1]
    harmless = probing.agree(backbone, padded, alone)
    if not harmless:
        logger.info("%s counts positions from the padding: texts are padded on the right", type(backbone).__name__)
    return harmless
