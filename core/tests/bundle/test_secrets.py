"""Likely secrets stop a bundle; they are named by file and line, and never shown.

What looks like a secret here is put together when a test runs, so that no scanner trips over it.
"""

from __future__ import annotations

import random
import string
from pathlib import Path

import pytest

from zenml.core.bundle import BundleRules, collect
from zenml.core.errors import ConfigurationError

_chance = random.Random(7)  # noqa: S311 - none of these is one
ALNUM = string.ascii_letters + string.digits


def made_up(length: int, alphabet: str = ALNUM) -> str:
    return "".join(_chance.choices(alphabet, k=length))


def key_block(kind: str = "RSA ", end: str = "\n") -> str:
    label = f"{kind}PRIVATE KEY-----"
    lines = [f"-----BEGIN {label}", *(made_up(64) for _ in range(4)), f"-----END {label}"]
    return end.join(lines)


SECRETS = {
    "a private key": key_block(),
    "a private key of SSH": key_block("OPENSSH "),
    "a private key under headers": key_block().replace("\n", "\nProc-Type: 4,ENCRYPTED\n\n", 1),
    "a private key in JSON": '{"private_key": "' + key_block("", r"\n") + '"}',
    "a private key in source": key_block("EC ", '\\n"\n    "'),
    "an AWS access key": "key = '" + "AKIA" + made_up(16, "ABCDEFGHIJKLMNOP234567") + "'",
    "an AWS secret key": "aws_secret_access_key" + " = " + made_up(40),
    "a GitHub token": "https://x:" + "ghp" + "_" + made_up(36) + "@host/",
    "a GitHub token, fine-grained": "github" + "_pat_" + made_up(22) + "_" + made_up(59),
    "a GitLab token": "gl" + "pat-" + made_up(20),
    "a Slack token": "xox" + "b-" + made_up(12, string.digits) + "-" + made_up(24),
    "a Google API key": "AI" + "za" + made_up(35),
    "a Google access token": "ya" + "29." + made_up(60),
    "a Google client secret": "GOC" + "SPX-" + made_up(28),
    "a Stripe key": "sk" + "_live_" + made_up(24),
    "an Azure storage key": "Account" + "Key=" + made_up(86) + "==;",
    "a Hugging Face token": "h" + "f_" + made_up(34, string.ascii_letters),
    "a PyPI token": "py" + "pi-AgE" + made_up(80),
    "an npm token": "np" + "m_" + made_up(36),
    "an API key": "sk" + "-proj-" + made_up(48),
}


def refusal(root: Path, rules: BundleRules | None = None) -> ConfigurationError:
    with pytest.raises(ConfigurationError, match="cannot be bundled") as caught:
        collect(root, rules)
    return caught.value


@pytest.mark.parametrize("kind", SECRETS)
def test_a_secret_is_named_by_path_and_line_and_never_shown(kind: str, repo: Path) -> None:
    (repo / "settings.txt").write_text(f"first\n\n{SECRETS[kind]}\n")

    error = refusal(repo)

    assert [problem.path for problem in error.problems] == ["settings.txt:3"]
    assert kind.startswith(error.problems[0].message.removeprefix("looks like "))
    longest = max(SECRETS[kind].replace("\\n", " ").split(), key=len)
    assert longest not in str(error)
    assert "/settings.txt to .zenmlignore, or to .zenmlallow" in str(error)


@pytest.mark.parametrize(
    "name",
    [
        *(".env", ".env.local", "d/.env.production", ".envrc", "id_rsa", "keys/id_ed25519"),
        *(".netrc", ".pypirc", ".pgpass", "credentials.json", "credentials-prod.json"),
        *("service-account.json", "client_secret_1.json", "store.p12", "x.PFX", "ID_RSA"),
    ],
)
def test_a_file_whose_name_says_secret_is_refused_unread(name: str, repo: Path) -> None:
    (repo / name).parent.mkdir(exist_ok=True)
    (repo / name).write_bytes(b"\0")

    assert [problem.path for problem in refusal(repo).problems] == [name]


@pytest.mark.parametrize(
    "name",
    [
        *(".env.example", ".env.sample", ".env.local.template", "id_rsa.pub", "environment.yml"),
        *("ca.pem", "credentials.py", "credentials_guide.md", "secrets.py", "tokens.json"),
    ],
)
def test_a_name_that_only_sounds_like_it_is_not(name: str, repo: Path) -> None:
    (repo / name).write_text("-----BEGIN CERTIFICATE-----\n" + made_up(64))

    assert [file.path for file in collect(repo).files] == [name]


@pytest.mark.parametrize(
    "text",
    [
        "AKIA" + "IOSFODNN7" + "EXAMPLE",
        "ghp" + "_" + "x" * 36,
        "AI" + "za" + "0" * 35,
        "A file that begins with -----BEGIN PRIVATE KEY----- is refused.",
        "re.compile('-----BEGIN (RSA|EC) PRIVATE KEY-----')",
        "aws_secret_access_key" + " = os.environ['AWS_SECRET_ACCESS_KEY']",
        "h" + "f_hub_download_from_the_main_branch_now",
        "sha256 = " + "0123456789abcdef" * 4,
        "sk" + "-learn-" + "is-no-key-however-long-the-name-may-become",
    ],
)
def test_a_placeholder_a_mention_and_a_digest_are_not_secrets(text: str, repo: Path) -> None:
    (repo / "notes.txt").write_text(text)

    assert len(collect(repo).files) == 1


def test_the_code_of_this_very_package_is_not(request: pytest.FixtureRequest) -> None:
    import zenml.core

    collect(Path(zenml.core.__file__).parent)
    collect(request.path.parent)


def test_a_link_to_a_file_whose_name_says_secret_is_refused(repo: Path) -> None:
    (repo / ".env").write_text("A=1")
    (repo / ".zenmlignore").write_text("/.env")
    (repo / "settings").symlink_to(".env")

    assert [problem.path for problem in refusal(repo).problems] == ["settings"]


def test_text_is_looked_at_up_to_a_bound_and_binary_files_are_not(repo: Path) -> None:
    (repo / "large.txt").write_text("x" * 2**20 + SECRETS["a GitHub token"])
    (repo / "weights.bin").write_bytes(b"\0" + SECRETS["a GitHub token"].encode())

    assert len(collect(repo).files) == 2


def test_every_file_with_a_secret_is_named_at_once(repo: Path) -> None:
    for number in range(3):
        (repo / f"{number}.txt").write_text(SECRETS["a GitLab token"])

    assert len(refusal(repo).problems) == 3


@pytest.mark.parametrize("line", ["/tests/keys/", "*.key", "/tests/keys/a.key", "tests/**"])
def test_zenmlallow_says_that_somebody_looked(line: str, repo: Path) -> None:
    (repo / "tests" / "keys").mkdir(parents=True)
    (repo / "tests" / "keys" / "a.key").write_text(key_block())
    refusal(repo)

    (repo / ".zenmlallow").write_text(f"# made for the tests\n{line}\n")

    assert [file.path for file in collect(repo).files] == [".zenmlallow", "tests/keys/a.key"]


def test_so_does_an_argument_for_exactly_that_file(repo: Path) -> None:
    (repo / ".env").write_text("A=1")
    (repo / "d").mkdir()
    (repo / "d" / ".env").write_text("A=1")

    error = refusal(repo, BundleRules(allow_secrets=(".env",)))

    assert [problem.path for problem in error.problems] == ["d/.env"]
