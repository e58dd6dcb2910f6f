"""A local Hugging Face causal LM, in batches, sampled so that an answer does not depend on its neighbours."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    LogitsProcessorList,
    PrefixConstrainedLogitsProcessor,
    StoppingCriteria,
    StoppingCriteriaList,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)

from embedkit.disk.model_files import BASE, TRUST
from embedkit.errors import EmbedkitError, RecipeError, about
from embedkit.model.checking.fit import refuse_gaps
from embedkit.model.checking.vocabulary import check_rows
from embedkit.model.reading.loading import load_tokenizer, load_transformers
from embedkit.model.reading.resolve import Origin, resolve
from embedkit.model.running.encoder import pick_device
from embedkit.model.running.sampling import Gumbel
from embedkit.synthesis.calls import Call, Finish, Reply


class EndOfLine(StoppingCriteria):
    """Ends a row when a line break follows its first words: a model without a chat template would go on writing."""

    def __init__(self, tokenizer: Any, start: int) -> None:
        self.tokenizer, self.start = tokenizer, start

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        texts = self.tokenizer.batch_decode(input_ids[:, self.start :], skip_special_tokens=True)
        return torch.tensor(["\n" in text.lstrip() for text in texts], device=input_ids.device)


class OneOf:
    """The tokens that may follow in a row, for transformers' constrained decoding: those of the answers, then an end.

    Args:
        answers: token ids of each.
        ends: tokens that end an answer; the padding where the model has none.
        start: length of the padded prompts.
    """

    def __init__(self, answers: Sequence[Sequence[int]], ends: Sequence[int], start: int) -> None:
        self.answers, self.ends, self.start = [list(ids) for ids in answers], list(ends), start

    def __call__(self, row: int, ids: Tensor) -> list[int]:
        written = ids[self.start :].tolist()
        rests = [answer[len(written) :] for answer in self.answers if answer[: len(written)] == written]
        following = {rest[0] for rest in rests if rest}
        return sorted(following | (set() if rests and all(rests) else set(self.ends)))


def _load(origin: Origin, dtype: str) -> tuple[Any, Any]:
    """Tokenizer and model; every parameter is the checkpoint's."""
    tokenizer = load_tokenizer(origin, padding_side="left")
    model, report = load_transformers(AutoModelForCausalLM, origin, dtype=dtype)
    refuse_gaps(report, {name for name, _ in model.named_parameters()} & report.missing)
    check_rows(tokenizer, model.get_input_embeddings().num_embeddings)
    return tokenizer, model


class LocalModel:
    """A causal LM on this machine.

    Prompts go through the tokenizer's chat template. Without one the messages are joined by blank lines, followed by
    ``Answer:``, and an answer of one line ends at its line break.

    Args:
        model: a local folder or a Hub id.
        batch_size: calls per batch; they are sorted by length.
        device: auto, cpu, cuda, mps.
        dtype: auto (as saved), float32, bfloat16 or float16.

    Raises:
        RecipeError: there is no such model, it is damaged, or it is no causal LM.
    """

    def __init__(self, model: str, *, batch_size: int = 8, device: str = "auto", dtype: str = "auto") -> None:
        with about("--model", BASE):
            origin = resolve(model)
            try:
                self.tokenizer, self.model = _load(origin, dtype)
            except RecipeError as error:
                if error.where != TRUST:
                    raise
                raise RecipeError(error.what, BASE, "choose a model that needs no code of its own") from error
        content = origin.revision or content_of(Path(origin.target))
        self.identity = {"local": content, "dtype": dtype}
        self.retries = 0
        self.batch_size = batch_size
        self.device = torch.device(pick_device(device))
        self.model.to(self.device).eval()
        ends = self.model.generation_config.eos_token_id
        ends = self.tokenizer.eos_token_id if ends is None else ends
        self.ends: list[int] = ends if isinstance(ends, list) else [] if ends is None else [ends]
        if self.tokenizer.pad_token_id is None:
            if self.tokenizer.eos_token is None:
                raise EmbedkitError("the tokenizer has neither a padding nor an end token", model, "give it one")
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.context: int | None = getattr(self.model.config, "max_position_embeddings", None)

    def answer(self, calls: Sequence[Call]) -> Generator[tuple[int, Reply], None, None]:
        """Index and reply of every call, batch by batch: calls sampled alike, of similar length."""
        texts = [self._text(call) for call in calls]
        alike: dict[tuple[Any, ...], list[int]] = defaultdict(list)
        tokens = [len(ids) for ids in self._ids(texts)["input_ids"]] if texts else []
        for index, call in enumerate(calls):
            if self.context is not None and tokens[index] + call.max_tokens > self.context:
                yield index, Reply("", "too_long", 0, 0)
                continue
            alike[call.temperature, call.top_p, call.max_tokens, call.one_line, call.allowed].append(index)
        for members in alike.values():
            members.sort(key=lambda index: tokens[index])
            for start in range(0, len(members), self.batch_size):
                batch = members[start : start + self.batch_size]
                replies = self._generate([texts[i] for i in batch], [calls[i] for i in batch])
                yield from zip(batch, replies, strict=True)

    def _text(self, call: Call) -> str:
        if self.tokenizer.chat_template is None:
            return "\n\n".join(content for _, content in call.messages) + "\nAnswer:"
        messages = [{"role": role, "content": content} for role, content in call.messages]
        try:
            text: str = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        except TemplateError as error:
            cure = "some models take no system message: put its text into the first user message"
            raise RecipeError(f"the model's chat template refuses the messages: {error}", call.kind, cure) from error
        return text

    def _ids(self, texts: list[str], **options: Any) -> Any:
        """Token ids. A chat template writes special tokens itself."""
        return self.tokenizer(texts, add_special_tokens=self.tokenizer.chat_template is None, **options)

    @torch.inference_mode()
    def _generate(self, texts: list[str], calls: list[Call]) -> list[Reply]:
        inputs = self._ids(texts, padding=True, return_tensors="pt").to(self.device)
        start = inputs["input_ids"].shape[1]
        first = calls[0]
        one_line = first.one_line and self.tokenizer.chat_template is None
        processors, stopping, longest = LogitsProcessorList(), StoppingCriteriaList(), first.max_tokens
        if answers := self._written(first.allowed):
            allowed = OneOf(answers, self.ends or [self.tokenizer.pad_token_id], start)
            processors.append(PrefixConstrainedLogitsProcessor(allowed, num_beams=1))
            longest = max(map(len, answers)) + 1
        if first.temperature > 0:
            processors.append(TemperatureLogitsWarper(float(first.temperature)))
            if first.top_p < 1:
                processors.append(TopPLogitsWarper(first.top_p))
            processors.append(Gumbel([call.seed for call in calls], self.device))
        if one_line:
            stopping.append(EndOfLine(self.tokenizer, start))
        config = GenerationConfig(
            do_sample=False,
            use_cache=True,  # a folder that a trainer saved has it off
            max_new_tokens=longest,
            eos_token_id=self.ends or None,
            pad_token_id=self.tokenizer.pad_token_id,
        )
        out = self.model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            generation_config=config,
            logits_processor=processors,
            stopping_criteria=stopping,
        )
        asked = inputs["attention_mask"].sum(1).tolist()
        replies = [self._reply(ids, n, one_line) for ids, n in zip(out[:, start:].tolist(), asked, strict=True)]
        return [replace(reply, finish="stop") for reply in replies] if answers else replies

    def _written(self, allowed: Sequence[str]) -> list[list[int]]:
        """Token ids of the answers as they follow the prompt; none where the tokenizer cannot write one of them."""
        led = [text if self.tokenizer.chat_template is not None else f" {text}" for text in allowed]
        ids = [list(self.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in led]
        back = [self.tokenizer.decode(one, skip_special_tokens=True).strip() for one in ids]
        return ids if back == list(allowed) else []

    def _reply(self, ids: list[int], asked: int, one_line: bool) -> Reply:
        end = next((place for place, token in enumerate(ids) if token in self.ends), None)
        text = self.tokenizer.decode(ids[:end], skip_special_tokens=True)
        finish: Finish = "length" if end is None else "stop"
        written = len(ids) if end is None else end + 1
        if one_line and "\n" in text.lstrip():
            text, finish = text.lstrip().split("\n", 1)[0], "stop"
            # What stands after the end of the line is padding.
            pad = self.tokenizer.pad_token_id
            written = next((n for n in range(written, 0, -1) if ids[n - 1] != pad), 0)
        return Reply(text, finish, int(asked), written)


def content_of(folder: Path) -> str:
    """sha256 of every file that decides what a model in a folder says: weights, settings, tokenizer."""
    sha = hashlib.sha256()
    endings = (".json", ".safetensors", ".bin", ".model", ".txt", ".jinja")
    for file in sorted(path for path in folder.iterdir() if path.suffix in endings and path.is_file()):
        sha.update(f"{file.name} {file.stat().st_size}\n".encode())
        with file.open("rb") as raw:
            while block := raw.read(1 << 22):
                sha.update(block)
    return sha.hexdigest()
