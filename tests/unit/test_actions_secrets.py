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


def settled(path: Path, value: str) -> None:
    """Write a file and put its modification time back."""
    path.write_text(value)
    os.utime(path, ns=(1, 1))


def test_a_change_of_the_same_length_and_time_is_noticed(folder: Path) -> None:
    store = SecretStore(str(folder), {})
    for value in ("one", "two", "six"):
        settled(folder / "BOTH", value)
        assert store.find("other", "BOTH") == value


def test_kubernetes_switch_of_a_whole_folder_is_noticed(tmp_path: Path) -> None:
    """A mounted secret is a link to ``..data/NAME``, and ``..data`` a link that is put in place of another."""
    for version, value in (("..v1", "old"), ("..v2", "new")):
        (tmp_path / version).mkdir()
        (tmp_path / version / "TOKEN").write_text(value)
    (tmp_path / "..data").symlink_to("..v1")
    (tmp_path / "TOKEN").symlink_to("..data/TOKEN")
    store = SecretStore(str(tmp_path), {})
    assert store.find("acme", "TOKEN") == "old"
    (tmp_path / "..next").symlink_to("..v2")
    (tmp_path / "..next").rename(tmp_path / "..data")
    assert store.find("acme", "TOKEN") == "new"


def test_a_file_that_comes_later_is_found(folder: Path) -> None:
    store = SecretStore(str(folder), {"LATER": SecretStr("env")})
    assert store.find("acme", "LATER") == "env"
    (folder / "LATER").write_text("everyone's")
    assert store.find("acme", "LATER") == "everyone's"
    (folder / "acme" / "LATER").write_text("acme's")
    assert store.find("acme", "LATER") == "acme's"


def test_a_file_that_has_not_changed_is_not_read_again(folder: Path) -> None:
    """What is looked up for each request costs a look at the file, not its reading."""
    reads: list[str] = []

    class Counting(SecretStore):
        def read(self, path: str) -> str | None:
            reads.append(path)
            return super().read(path)

    store = Counting(str(folder), {}, settled_ns=0)
    for _ in range(5):
        assert store.find("acme", "BOTH") == "acme's"
    assert reads == [f"{folder}/acme/BOTH"]
    (folder / "acme" / "BOTH").write_text("another")
    assert store.find("acme", "BOTH") == "another"
    assert len(reads) == 2


def test_the_operators_secrets_are_those_of_no_tenant(folder: Path) -> None:
    store = SecretStore(str(folder), {})
    (folder / "acme" / "MINE").write_text("x")
    assert store.find_operators("BOTH") == "everyone's"
    assert store.find_operators("MINE") is None
    assert store.find_operators("acme/MINE") is None


def test_a_store_shows_no_value(folder: Path) -> None:
    store = SecretStore(str(folder), {"A": SecretStr("canary")})
    store.find("acme", "BOTH")
    assert "acme's" not in repr(vars(store))
    assert "canary" not in repr(vars(store))


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
