"""What README claims is what is committed."""

import re

import pandas as pd
import pytest

from pipeline.reporting.results import load_results
from tests.conftest import ROOT
from tools.headline import headline

README = (ROOT / "README.md").read_text()


HEADLINES = re.findall(
    r"<!-- headline of (results/\w+) -->\n```\n(.*?)\n```\n<!-- end -->", README, re.DOTALL
)


@pytest.mark.parametrize(("folder", "text"), HEADLINES, ids=[folder for folder, _ in HEADLINES])
def test_a_headline_is_that_of_the_committed_results(folder, text):
    assert text == headline(load_results(ROOT / folder))


def test_every_committed_table_is_a_headline():
    committed = {f"results/{path.parent.name}" for path in (ROOT / "results").glob("*/curves")}
    assert {folder for folder, _ in HEADLINES} == committed


@pytest.mark.parametrize(
    ("hours", "folder"),
    re.findall(r"(\d+\.\d)\s+hours of training in\s+all\s+\(`(results/\w+)/timing`\)", README),
)
def test_the_hours_of_a_table_are_those_of_its_epochs(hours, folder):
    tables = [pd.read_csv(path) for path in (ROOT / folder / "timing").glob("*.csv")]
    assert hours == f"{sum(table.seconds.sum() for table in tables) / 3600:.1f}"


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
