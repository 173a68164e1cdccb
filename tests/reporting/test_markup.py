import pandas as pd

from pipeline.reporting.markup import to_html, to_markdown
from pipeline.reporting.tables import Table


def _table(shown: pd.DataFrame) -> Table:
    return Table(shown, shown)


def test_markdown_escapes_what_would_end_a_cell() -> None:
    table = _table(pd.DataFrame({"Row": ["|K - T|"], "Top-1, %": ["97.50 ± 0.20"]}))
    assert to_markdown(table).splitlines() == [
        "| Row | Top-1, % |",
        "| --- | --- |",
        "| \\|K - T\\| | 97.50 ± 0.20 |",
    ]


def test_html_aligns_numbers_and_escapes_text() -> None:
    shown = pd.DataFrame(
        {
            "Row": ["a < b", "c"],
            "Top-1, %": ["97.50 ± 0.20", "not run"],
            "Interval": ["± 1.20", "-"],
            "Distance": ["8.0e-03", "1.0e-02"],
        }
    )
    html = to_html(_table(shown), "A & B")
    assert "<caption>A &amp; B</caption>" in html
    assert '<td class="t">a &lt; b</td><td class="n">97.50 ± 0.20</td>' in html
    assert html.count('<th class="n">') == 3
    assert 'class="table prose"' in to_html(_table(shown), prose=True)


def test_groups_of_columns_span_them() -> None:
    columns = pd.MultiIndex.from_tuples([("", "Layer"), ("Error", "A"), ("Error", "B")])
    table = _table(pd.DataFrame([["conv", "1", "2"]], columns=columns))
    assert '<th class="group" colspan="2">Error</th>' in to_html(table)
    assert to_markdown(table).startswith("| Layer | Error A | Error B |\n")
