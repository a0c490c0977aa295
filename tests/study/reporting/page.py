"""A report taken apart."""

import json
from html.parser import HTMLParser


class Page(HTMLParser):
    """Tags with their attributes, the text outside scripts and styles, the rows of tables by id."""

    def __init__(self, source):
        super().__init__()
        self.source, self.tags, self.words, self.scripts, self.tables = source, [], [], [], {}
        self._inside, self._table, self._cell = "", None, None
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "table":
            self._table = self.tables.setdefault(dict(attrs)["id"], [])
        elif tag == "tr":
            self._table.append([])
        elif tag in ("td", "th"):
            self._table[-1].append("")

    def handle_endtag(self, tag):
        self._inside = ""
        if tag == "table":
            self._table = None

    def handle_data(self, data):
        if self._inside in ("script", "style"):
            self.scripts.append(data)
            return
        self.words.append(data)
        if self._table and self._table[-1]:
            self._table[-1][-1] += data.strip()

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    @property
    def figures(self):
        return json.loads(next(script for script in self.scripts if script.startswith("[{")))

    @property
    def charts(self):
        return [attributes for _, attributes in self.tags if "data-figure" in attributes]
