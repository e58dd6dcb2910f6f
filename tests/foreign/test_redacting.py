"""What is hidden of secrets, by shape, place and name; and all the ordinary text that is left alone."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from embedkit.foreign.redacting import HIDDEN, PLACEHOLDER, names_a_secret, places, redact, secrets
from embedkit.recipe.load import LoadedStages, list_recipes, load_any

ROOT = Path(__file__).parents[2]
MIXED = "aB3dE5fG7h" * 4
PEM = "-----BEGIN {0}PRIVATE KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0B+/Aw==\n-----END {0}PRIVATE KEY-----"

SHAPES = [
    *("hf_abcdefGHIJKL0123", f"hf_{MIXED}", f"api_org_{MIXED}", "ghp_" + "a1B2" * 9, f"gho_{MIXED}", f"ghs_{MIXED}"),
    *(
        f"github_pat_11AB_{MIXED}",
        f"glpat-{MIXED}",
        f"sk-{MIXED}",
        "sk-proj-" + "a1B2" * 6,
        f"sk-ant-api03-{MIXED}-_AA",
    ),
    *(f"AIzaSy{MIXED[:33]}", f"ya29.a0{MIXED}", "xoxb-123456789012-abcdefGHIJ", f"xoxp-1-2-{MIXED}", f"xapp-1-{MIXED}"),
    *("AKIA" + "ABCD" * 4, "ASIAIOSFODNN7EXAMPLE", f"sk_live_{MIXED}", f"pypi-AgEI{MIXED}", f"npm_{MIXED}"),
    *(f"gsk_{MIXED}", f"xai-{MIXED}", f"SG.{MIXED[:22]}.{MIXED}", f"dop_v1_{'0af1' * 16}", f"nvapi-{MIXED}"),
    *("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N_XgL0n", f"123456789:AA{MIXED}"),
    *(PEM.format("RSA "), PEM.format(""), PEM.format("OPENSSH "), PEM.format("EC ").replace("\n", "\\n")),
]
PLACES = [
    ("https://user:pa55@host/x", "pa55"),
    ("https://me:p@ss/w0rd@host/x", "ss/w0rd"),
    ("https://t0ken@host/x", "t0ken"),
    ("postgres://u:pa55@db/x", "pa55"),
    (r"https:\/\/u:pa55@h", "pa55"),
    ("https://h/x?key=a1b2&n=3", "a1b2"),
    ("https://h/x?n=3&sig=a%2Fb%3D", "a%2Fb%3D"),
    ("https://b.s3.amazonaws.com/k?X-Amz-Credential=c0c0&X-Amz-Signature=dead", "dead"),
    ("https://b.s3.amazonaws.com/k?X-Amz-Credential=c0c0&X-Amz-Signature=dead", "c0c0"),
    ("https://h/?X-Amz-Security-Token=a1b2", "a1b2"),
    ("https://h/?%74oken=a1b2", "a1b2"),
    ("https://h/?token=a1b2#access_token=c3d4", "c3d4"),
    ("https://h/?password=a1b2", "a1b2"),
    ("https://h/?sas=a1b2", "a1b2"),
    ("https://h/?sv=2020&amp;sig=a1b2", "a1b2"),
    ("https://hooks.slack.com/services/T0/B0/xYz", "T0/B0/xYz"),
    ("Authorization: Bearer short", "short"),
    ("""note="password='a1b2'", n=1""", "a1b2"),
    ("data: {token: a1b2c3}", "a1b2c3"),
    ("key='token=a1b2c3'", "a1b2c3"),
    ("authorization: Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
    ('{"Authorization": "Bearer a b"}', "a b"),
    ("Authorization=Token abc", "abc"),
    ("sent Bearer a1b2c3d4", "a1b2c3d4"),
    ("Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
    ("token=abcdef123456", "abcdef123456"),
    ("api_key: 'abcdef123456'", "abcdef123456"),
    ("HF_TOKEN=abcdef123456", "abcdef123456"),
    ("MY_PASSWORD=hunter2", "hunter2"),
    ("password = 'correct horse battery staple'", "horse battery"),
    ('password: "correct horse battery staple"', "horse battery"),
    ("password: correct horse battery staple", "horse battery"),
    (r"{\"password\": \"correct horse\", \"n\": 1}", "correct horse"),
    (r'"passwd": "with \"quotes\" inside"', "inside"),
    ("Server=db;User=me;Password=hunter2;", "hunter2"),
    ("AccountKey=a1b2c3==;EndpointSuffix=core", "a1b2c3=="),
    ("x-api-key: abcd1234", "abcd1234"),
    ("api-key: abcd1234", "abcd1234"),
    ("authorization: abcd1234", "abcd1234"),
    ("clientSecret: 'a b'", "a b"),
    ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG", "wJalrXUtnFEMI/K7MDENG"),
    ("api_keys: [abc, def]", "abc, def"),
    ("secret: {a: b1}", "a: b1"),
    ("run --token abcd1234 now", "abcd1234"),
    ("run --api-key=abcd1234 now", "abcd1234"),
    (r"said \npassword='a b'", "a b"),
]


@pytest.mark.parametrize("secret", SHAPES)
@pytest.mark.parametrize("around", ["before {} after", "({})", "'{}'", r"\n{}", r"\x1b{}", '"{}"', "x={}", "MY_{}"])
def test_tokens_and_keys_are_known_by_their_shape(secret: str, around: str) -> None:
    text = around.format(secret)
    assert secret.strip("-") not in redact(text)
    assert redact(text) == around.format(HIDDEN)
    assert redact(redact(text)) == redact(text)
    assert list(places({"a": [text]})) and secrets(text) == [secret]


@pytest.mark.parametrize(("text", "secret"), PLACES)
def test_secrets_are_known_by_their_place_and_name(text: str, secret: str) -> None:
    found = redact(text)
    assert secret not in found and HIDDEN in found
    assert redact(found) == found, "hidden once"
    assert redact(text, PLACEHOLDER).count(PLACEHOLDER) == found.count(HIDDEN)
    assert redact(redact(text, PLACEHOLDER), PLACEHOLDER) == redact(text, PLACEHOLDER)
    assert redact({"x": [text]}) == {"x": [found]}
    assert any(secret in hidden for hidden in secrets(text))


@pytest.mark.parametrize(
    "text",
    [
        "sentence-transformers/all-MiniLM-L6-v2",
        "tokens_per_micro_batch: 2048",
        "batch_tokens=8192, max_tokens=256, tokens: [101, 102]",
        "hf_transfer",
        "8c1f0a3b5d77e2c48c1f0a3b5d77e2c48c1f0a3b",
        "https://example.org/a@b",
        "http://localhost:8000/v1/a@b",
        "token: null",
        "token=None",
        "the secret of the ocean",
        "the secret: always be kind",
        "a bearer of good news, basic understanding1234 of it",
        "mask-based-scoring",
        "sk-learn-text-classification-v2",
        "mask_token: '[MASK]'",
        "pad_token=<pad>",
        "eos_token: '</s>'",
        "unknown key `secret`",
        "api_key: $OPENAI_API_KEY",
        "token: ${{ secrets.HF_TOKEN }}",
        "OPENAI_API_KEY is not set",
        "key=value",
        "keys: [query, positive]",
        "author: Ada",
        "monkey: banana",
        "cookies: chocolate",
        "authors: somebody1",
    ],
)
def test_other_texts_are_left_alone(text: str) -> None:
    assert redact(text) == text
    assert list(places(text)) == secrets(text) == []


def test_values_under_a_secrets_name_are_hidden_at_any_depth() -> None:
    found: dict[str, Any] = {
        "hub_token": "x",
        "tokens": 12,
        "token": None,
        "password": 12345678,
        "pin": {"password": 123},
        "api_keys": ["a", {"b": "c", "d": 4}],
        "headers": {"X-Api-Key": "q", "Authorization": "r", "Accept": "json"},
        "mask_token": "<mask>",
        "secret": "$MY_SECRET",
        "rows": ({"token": "one two"},),
    }
    assert redact(found) == {
        "hub_token": HIDDEN,
        "tokens": 12,
        "token": None,
        "password": HIDDEN,
        "pin": {"password": 123},
        "api_keys": [HIDDEN, {"b": HIDDEN, "d": 4}],
        "headers": {"X-Api-Key": HIDDEN, "Authorization": HIDDEN, "Accept": "json"},
        "mask_token": "<mask>",
        "secret": "$MY_SECRET",
        "rows": [{"token": HIDDEN}],
    }
    assert [path for path, _ in places(found)] == [
        ("hub_token",),
        ("password",),
        ("api_keys",),
        ("headers", "X-Api-Key"),
        ("headers", "Authorization"),
        ("rows", 0, "token"),
    ]
    assert secrets(found) == ["x", "12345678", "a", "c", "q", "r", "one two"]


def test_a_token_as_a_key_is_hidden_too() -> None:
    assert redact({"hf_" + MIXED: 1}) == {HIDDEN: 1}


@pytest.mark.parametrize(
    "name", ["password", "HF_TOKEN", "hubToken", "x-api-key", "clientSecret", "DB.PASSWORD", "auth"]
)
def test_names_of_secrets(name: str) -> None:
    assert names_a_secret(name)


@pytest.mark.parametrize(
    "name", ["", "key", "tokens", "max_tokens", "cls_token", "secretary", "author", "compass", "id"]
)
def test_names_of_other_things(name: str) -> None:
    assert not names_a_secret(name)


def test_every_shipped_recipe_and_suite_is_left_as_it_is() -> None:
    shipped = list_recipes()
    assert len(shipped) > 20
    for path in [*shipped, *(ROOT / "eval" / "suites").glob("*.yaml")]:
        text = path.read_text(encoding="utf-8")
        assert redact(text) == text, path
        data = YAML(typ="safe", pure=True).load(text)
        assert redact(data) == data, path
    for path in shipped:
        found = load_any(path)
        recipes = [part.recipe for part in found.parts] if isinstance(found, LoadedStages) else [found.recipe]
        data = [recipe.model_dump(mode="json") for recipe in recipes]
        assert redact(data) == data and not list(places(data)), path


@pytest.mark.parametrize(
    "piece",
    [
        *("a ", "-----BEGIN PRIVATE KEY-----", "token=", "?a=b", "sk-", "://a", "://a:", "eyJaaaaaaaa.", 'password="'),
        *(
            "token: {",
            "keys=",
            "a=",
            "key={",
            "tokena",
            "token.a.",
            "basic aaaaaaaa ",
            "hf_aaaa",
            "password:\n",
            "SG.aaaaaaaaaaaaaaaaaaaa",
        ),
        *("token: ", " #\npassword", "bearer ", "authorization: bearer ", "--token ", "\\x1bpassword", "gl", "[?&"),
    ],
)
def test_long_texts_take_no_long_time(piece: str) -> None:
    """No pattern may need time that grows with the square of the length: 2 MB would take hours."""
    took = []
    for size in (20_000, 160_000):
        text, start = piece * (size // len(piece)), time.process_time()
        redact(text)
        took.append(time.process_time() - start)
    assert took[1] < 24 * max(took[0], 0.02), took
