"""A site without a network: requests go by middleware and routes to views, which filter rows and fill templates."""
import hashlib
import html
import json
import re

ROWS = [{"id": i, "title": f"entry {i}", "tags": [f"t{i % 7}", f"t{i % 11}"], "likes": i * 37 % 101} for i in range(600)]
BASE = "<html><head><title>{{ title }}</title></head><body>{% body %}</body></html>"
ITEM = "<li class='{{ tag }}'>{{ title }} ({{ likes }})</li>"
FIELD = re.compile(r"{{\s*(\w+)\s*}}")


def render(template, values):
    return FIELD.sub(lambda found: html.escape(str(values.get(found.group(1), ""))), template)


class Query:
    def __init__(self, rows):
        self.rows = rows

    def filter(self, **wanted):
        rows = self.rows
        for key, value in wanted.items():
            name, _, how = key.partition("__")
            if how == "gte":
                rows = [row for row in rows if row[name] >= value]
            elif how == "contains":
                rows = [row for row in rows if value in row[name]]
            else:
                rows = [row for row in rows if row[name] == value]
        return Query(rows)

    def order_by(self, name):
        back = name.startswith("-")
        return Query(sorted(self.rows, key=lambda row: row[name.lstrip("-")], reverse=back))


def index(request, tag):
    rows = Query(ROWS).filter(tags__contains=tag, likes__gte=20).order_by("-likes").rows[:20]
    items = "".join(render(ITEM, {"tag": tag, **row}) for row in rows)
    return render(BASE, {"title": f"all of {tag}"}).replace("{% body %}", f"<ul>{items}</ul>")


def entry(request, number):
    return json.dumps(ROWS[int(number) % len(ROWS)], sort_keys=True)


def search(request, words):
    pattern = re.compile("|".join(re.escape(word) for word in words.split("+")))
    return json.dumps([row["id"] for row in ROWS if pattern.search(row["title"])])


ROUTES = [
    (re.compile(r"^/tag/(?P<tag>\w+)/$"), index),
    (re.compile(r"^/entry/(?P<number>\d+)/$"), entry),
    (re.compile(r"^/search/(?P<words>[\w+]+)$"), search),
]


def dispatch(request):
    for route, view in ROUTES:
        found = route.match(request["path"])
        if found:
            return {"status": 200, "body": view(request, **found.groupdict())}
    return {"status": 404, "body": "nothing is there"}


def with_length(handle):
    def handled(request):
        response = handle(request)
        response["headers"] = {"Content-Length": str(len(response["body"])), "X-Path": request["path"]}
        return response
    return handled


def with_session(handle):
    def handled(request):
        cookies = dict(pair.split("=") for pair in request["cookie"].split("; "))
        request["session"] = hashlib.sha256(cookies["id"].encode()).hexdigest()
        response = handle(request)
        response["headers"]["Set-Cookie"] = request["session"][:16]
        return response
    return handled


def documents():
    text = json.dumps([{"n": i, "s": "x" * (i % 30), "l": list(range(i % 9)), "f": i / 8} for i in range(3000)])
    for _ in range(6):
        text = json.dumps(json.loads(text))
    words = re.findall(r'"(\w)": ("x+"|\d+(?:\.\d+)?)', text)
    return f"{len(text)} {len(words)} {hashlib.sha256(text.encode()).hexdigest()}"


def main():
    handle = with_session(with_length(dispatch))
    paths = ["/tag/t3/", "/entry/77/", "/search/entry+9", "/tag/t5/", "/nothing", "/entry/123/"]
    digest = hashlib.sha256()
    for number in range(600):
        response = handle({"path": paths[number % len(paths)], "cookie": f"id={number % 10}; theme=dark"})
        digest.update(json.dumps(response, sort_keys=True).encode())
    print("site", digest.hexdigest())
    print("documents", documents())


main()
