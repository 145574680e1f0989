"""The two READMEs say the same commands, and what they show in Python runs."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
READMES = ["README.md", "README.zh.md"]


def blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL)


def test_both_readmes_have_the_same_commands():
    assert blocks("README.md", "bash") == blocks("README.zh.md", "bash")
    assert blocks("README.md", "python") == blocks("README.zh.md", "python")
    assert blocks("README.md", "bash")[:2] == ["make demo\n", "make test\n"]


@pytest.mark.parametrize("name", READMES)
def test_every_link_and_picture_is_there(name):
    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / name).read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))])
def test_the_python_of_a_page_runs(page):
    for block in blocks(page, "python"):
        exec(compile(block, page, "exec"), {})


def test_the_commands_of_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text()
    from suffuse.cli import VERBS

    for block in blocks("README.md", "bash"):
        for line in block.splitlines():
            tool, verb = line.split()[:2]
            assert tool in ("make", "pip", "suffuse")
            assert tool != "make" or f"\n{verb}:" in makefile
            assert tool != "suffuse" or verb in VERBS
