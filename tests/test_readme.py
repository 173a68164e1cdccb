"""What README claims is what is committed."""

import re

import pytest

from pipeline.reporting.headline import headline
from pipeline.reporting.results import load_results
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()


def test_the_headline_is_that_of_the_committed_results():
    block = re.search(
        r"<!-- headline of (results/\w+) -->\n```\n(.*?)\n```\n<!-- end -->", README, re.DOTALL
    )
    assert block is not None
    assert block[2] == headline(load_results(ROOT / block[1]))


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_every_link_into_the_repository_leads_somewhere(target):
    assert (ROOT / target).exists()


@pytest.mark.parametrize(
    "name", sorted(set(re.findall(r"`((?:pipeline|reports|stages)/[\w./]+)`", README)))
)
def test_every_path_it_names_exists(name):
    assert (ROOT / name).exists()


@pytest.mark.parametrize(
    "target", sorted(set(re.findall(r"(?:^|`)make ([a-z]+)", README, re.MULTILINE)))
)
def test_every_make_target_it_names_exists(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
