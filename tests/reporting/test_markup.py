import pandas as pd

from pipeline.reporting.markup import Prose, part, to_html, to_markdown
from pipeline.reporting.tables import Table

REST = {"id": "table-x", "folded": "", "files": [("CSV", "tables/x.csv")], "redraw": "dvc repro"}
IMAGE = "<img src=x onerror=alert(1)>"


def _table(shown: pd.DataFrame) -> Table:
    return Table(shown, shown)


def test_markdown_escapes_what_is_markup() -> None:
    table = _table(
        pd.DataFrame({"Row": ["|K - T|", IMAGE], "Top-1, %": ["97.50 ± 0.20", "[a](b)"]})
    )
    assert to_markdown(table).splitlines() == [
        "| Row | Top-1, % |",
        "| --- | --- |",
        "| \\|K - T\\| | 97.50 ± 0.20 |",
        "| \\<img src=x onerror=alert(1)> | \\[a](b) |",
    ]


def test_control_characters_are_escaped() -> None:
    table = _table(pd.DataFrame({"Class": ["a\x1b[31m\nb | c"]}))
    assert to_markdown(table).splitlines()[2:] == [r"| a\\x1b\[31m\\nb \| c |"]
    html = to_html(table, "", prose=False, **REST)
    assert r"a\x1b[31m\nb | c" in html


def test_a_table_without_lines_has_its_headings() -> None:
    html = to_html(_table(pd.DataFrame(columns=["File", "SHA-256"])), "", prose=False, **REST)
    assert html.count("<th class=") == 2


def test_html_aligns_numbers_and_escapes_text() -> None:
    shown = pd.DataFrame(
        {
            "Row": ["a < b", IMAGE],
            "Top-1, %": ["97.50 ± 0.20", "not run"],
            "Interval": ["± 1.20", "-"],
            "Distance": ["8.0e-03", "1.0e-02"],
        }
    )
    html = to_html(_table(shown), f"A & B {IMAGE}", prose=False, **REST)
    assert "A &amp; B &lt;img" in html
    assert '<td class="t">a &lt; b</td><td class="n">97.50 ± 0.20</td>' in html
    assert html.count('<th class="n">') == 3
    assert "<img" not in html
    assert "data-heading" not in html
    prose = to_html(_table(shown), "", prose=True, **REST)
    assert 'class="table prose"' in prose
    assert '<td class="t" data-heading="Row">a &lt; b</td>' in prose


def test_an_address_is_a_link_and_nothing_else_is() -> None:
    cells = ["https://example.org/a?b&c", 'https://"><img', "javascript:alert(1)", "http://a"]
    html = to_html(_table(pd.DataFrame({"Page": cells})), "", prose=False, **REST)
    assert '<a href="https://example.org/a?b&amp;c">example.<wbr>org/<wbr>a?b&amp;c</a>' in html
    assert '<a href="https://&#34;&gt;&lt;img">' in html
    assert html.count("<td") - 2 == html.count('<a href="https')


def test_groups_of_columns_span_them() -> None:
    columns = pd.MultiIndex.from_tuples([("", "Layer"), ("Error", "A"), ("Error", "B")])
    table = _table(pd.DataFrame([["conv", "1", "2"]], columns=columns))
    html = to_html(table, "", prose=False, **REST)
    assert '<th class="group" colspan="2">Error</th>' in html
    assert to_markdown(table).startswith("| Layer | Error A | Error B |\n")


def test_a_folded_table_opens_under_its_title() -> None:
    table = _table(pd.DataFrame({"Row": ["a"]}))
    html = to_html(table, "", prose=False, **(REST | {"folded": f"All {IMAGE}"}))
    assert html.startswith("<details><summary>All &lt;img")
    assert html.endswith("</details>")


def test_every_part_escapes_what_it_is_given() -> None:
    for name, values in {
        "text": {"content": IMAGE},
        "banner": {"content": IMAGE},
        "bullets": {"title": IMAGE, "items": [IMAGE]},
        "heading": {"level": 1, "text": IMAGE, "id": '"><img'},
        "figure": {
            "id": '"><img',
            "caption": IMAGE,
            "files": [(IMAGE, '"><img')],
            "data": IMAGE,
            "redraw": IMAGE,
        },
        "files": {"paths": ['"><img']},
    }.items():
        html = part(name, **values)
        assert "&lt;img" in html
        assert "<img" not in html


def test_prose_is_markdown_without_html_of_its_own() -> None:
    prose = Prose()
    html = prose.render(f"## A *part* & more\n{IMAGE} [x](javascript:alert(1))")
    assert '<h2 id="A-part-more">A part &amp; more <a class="permalink" href="#A-part-more"' in html
    assert prose.sections == [{"id": "A-part-more", "text": "A part & more"}]
    assert "&lt;img" in html
    assert "<img" not in html
    assert "javascript:" not in html


def test_code_may_wrap_between_the_parts_of_a_name() -> None:
    html = Prose().render("`tests/a_b.py::c,d` and `<e>/f` and `1,000 at 32/32`")
    assert "<code>tests/<wbr>a_<wbr>b.<wbr>py::<wbr>c,<wbr>d</code>" in html
    assert "<code>1,000 at 32/32</code>" in html
    assert "<code>&lt;e&gt;/<wbr>f</code>" in html
