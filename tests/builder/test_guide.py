"""What the guide says that its examples send is what they send."""

from __future__ import annotations

from scripts.query_guide import PAGE, written


def test_the_guide_shows_what_is_sent() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page.count("```python query") == page.count("```sql") == page.count("```javascript") > 10
    assert written(page) == page


def test_a_page_that_says_something_else_is_seen() -> None:
    page = PAGE.read_text(encoding="utf-8")
    changed = page.replace("DELETE FROM book WHERE", "DELETE FROM shelf WHERE")
    assert changed != page
    assert written(changed) == page
