from twostream.benchmark.summary import describe, to_markdown


def test_results_become_a_text_and_tables(about):
    rows = [
        {"variant": "baseline", "pairs_per_second": (1234.5, 0.5, 2.0), "peak_bytes": 3 * 2**29, "count": 1000},
        {"variant": "one_pass", "pairs_per_second": (12.346, 1.0, 0.00321), "peak_bytes": 2**31, "count": 7},
    ]
    text = to_markdown(about | {"rounds": 3, "text": "Some text.", "tables": [{"title": "A table", "rows": rows}]})
    assert text.splitlines() == [
        "cpu; torch 2.15.0; commit abc; median and quartiles of 3 rounds",
        "",
        "Some text. Optimized: attention.",
        "",
        "A table:",
        "",
        "| variant | pairs/s | peak memory, GiB | count |",
        "| --- | ---: | ---: | ---: |",
        "| baseline | 1,234 [0.500, 2.00] | 1.50 | 1000 |",
        "| one pass | 12.3 [1.00, 0.00321] | 2.00 | 7 |",
    ]


def test_uncommitted_changes_are_reported(about):
    assert describe(about | {"dirty": True}) == "cpu; torch 2.15.0; commit abc with uncommitted changes"
