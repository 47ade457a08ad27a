"""Tables are Markdown whose cells line up."""

from levit_common.markdown import markdown_table


def test_columns_are_as_wide_as_their_widest_cell_and_numbers_flushed_right():
    table = markdown_table([("name", "ms"), ("a", "12.5"), ("longest", "3")], right=[1])
    assert table.splitlines() == [
        "| name    |   ms |",
        "|---------|-----:|",
        "| a       | 12.5 |",
        "| longest |    3 |",
    ]
