"""Where a secret is looked for, and what never leads to one."""

import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from actions.secrets import SecretStore, environment_name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    secrets = tmp_path / "secrets"
    (secrets / "acme").mkdir(parents=True)
    (secrets / "BOTH").write_text("everyone's\n")
    (secrets / "acme" / "BOTH").write_text(" acme's \n")
    (tmp_path / "outside").write_text("outside")
    return secrets


def test_a_tenants_own_comes_before_everyones_and_that_before_the_environment(folder: Path) -> None:
    store = SecretStore(str(folder), {"BOTH": SecretStr("env"), "ONLY_ENV": SecretStr("env")})
    assert store.find("acme", "BOTH") == "acme's"
    assert store.find("other", "BOTH") == "everyone's"
    assert store.find("acme", "only.env") == "env"
    assert store.find("acme", "NONE") is None


def test_a_changed_file_is_in_use_at_once(folder: Path) -> None:
    store = SecretStore(str(folder), {})
    assert store.find("other", "BOTH") == "everyone's"
    (folder / "BOTH").write_text("rotated")
    assert store.find("other", "BOTH") == "rotated"
    (folder / "BOTH").unlink()
    assert store.find("other", "BOTH") is None


@pytest.mark.parametrize("name", ["../outside", "..", "/etc/passwd", "", ".hidden", "a/b", "a\n", "x" * 129])
def test_a_name_never_leads_out_of_the_folder(folder: Path, name: str) -> None:
    assert SecretStore(str(folder), {}).find("acme", name) is None


@pytest.mark.parametrize("slug", ["..", "../..", "/", "", "."])
def test_nor_does_a_tenants_slug(folder: Path, slug: str) -> None:
    store = SecretStore(str(folder), {})
    assert store.find(slug, "outside") is None
    assert store.find(slug, "BOTH") == "everyone's"


def test_what_is_no_text_or_no_file_is_as_none(folder: Path) -> None:
    (folder / "BINARY").write_bytes(b"\xff\xfe")
    (folder / "EMPTY").write_text(" \n")
    os.mkfifo(folder / "PIPE")
    store = SecretStore(str(folder), {"EMPTY": SecretStr("")})
    for name in ("BINARY", "EMPTY", "PIPE", "acme"):
        assert store.find("x", name) is None


def test_the_environments_name_is_in_capitals_with_underscores() -> None:
    assert environment_name("slack.page-2") == "SLACK_PAGE_2"
