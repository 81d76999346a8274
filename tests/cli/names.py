"""What tests/cli/test_names.sh needs of Python: hostile T4 files, and a look at every byte that was written."""
import csv
import io
import json
import os
import re
import struct
import sys
import unicodedata
import xml.dom.minidom
from html.parser import HTMLParser


def places(value, path=()):
    """Every text of a JSON value, as (path, its parent, its key there); lists by their first element only."""
    items = value.items() if isinstance(value, dict) else list(enumerate(value))[:1] if isinstance(value, list) else []
    for key, child in list(items):
        if isinstance(child, str):
            yield path + (key,), value, key
        yield from places(child, path + (key,))


def named(root):
    """The same of values that stand beside their names, each in its turn."""
    for result in root["results"][:1]:
        for pair in result["measurements"]:
            if isinstance(pair["value"], str):
                yield ("measurements", pair["name"]), pair, "value"


def write_t4(source, folder, payload):
    with open(source, encoding="utf-8") as file:
        root = json.load(file)
    os.makedirs(folder)
    for number, (_, parent, key) in enumerate(list(places(root)) + list(named(root))):
        kept = parent[key]
        parent[key] = payload
        with open(f"{folder}/{number}.json", "w", encoding="utf-8") as file:
            json.dump(root, file, ensure_ascii=False)
        parent[key] = kept


def wrong_bytes(text):
    """The first character that a terminal would obey or nobody sees."""
    for at, character in enumerate(text):
        if character != "\n" and unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp"):
            return f"U+{ord(character):04x} behind {text[max(0, at - 40):at]!r}"
    return None


class Page(HTMLParser):
    """A page whose tags are closed in their order, and none of which is a script."""

    void = {"meta", "img", "link", "br"}

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag == "script" or any(name.startswith("on") or (value or "").startswith("javascript:") for name, value in attrs):
            raise ValueError(f"<{tag}> runs something")
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            raise ValueError(f"</{tag}> closes nothing")


def check_csv(text):
    rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    if len({len(row) for row in rows}) > 1:
        raise ValueError("rows of different lengths")
    if len(rows) != text.count("\n"):
        raise ValueError("a row is not one line")
    for cell in (cell for row in rows[1:] for cell in row):
        if cell[:1] in ("=", "+", "@", "\t") or (cell[:1] == "-" and not cell[1:2].isdigit()):
            raise ValueError(f"a formula: {cell[:40]}")


def check(path):
    with open(path, "rb") as file:
        data = file.read()
    kind = path.rsplit(".", 1)[-1]
    if kind == "png":
        return None
    try:
        text = data.decode("utf-8")
        if kind == "err" and ("Sanitizer" in text or "runtime error" in text):
            raise ValueError(text[:2000])
        if kind == "csv":
            check_csv(text)
        elif kind == "t4" and text:
            json.loads(text)
        elif kind == "json":
            for line in text.split("\n"):
                if line:
                    json.loads(line)
        elif kind == "svg":
            xml.dom.minidom.parseString(text)
        elif kind == "html":
            page = Page()
            page.feed(text)
            page.close()
            if page.open:
                raise ValueError(f"not closed: {page.open}")
        return wrong_bytes(text.replace("\t", " ") if kind == "svg" else text)
    except Exception as error:  # whatever it is, it is wrong
        return f"{type(error).__name__}: {error}"


def tensors(text):
    """A safetensors file of one tensor, whose name, type and metadata are the text."""
    header = b'{"__metadata__":{%s:%s},%s:{"dtype":%s,"shape":[2],"data_offsets":[0,4]}}' % ((text,) * 4)
    return struct.pack("<Q", len(header)) + header + b"\0" * 4


def quoted(name):
    """As a string of JSON, which YAML reads, too; as bytes in quotes where it is no text."""
    try:
        return json.dumps(name.encode("utf-8").decode("utf-8")).encode()
    except UnicodeEncodeError:
        return b'"' + os.fsencode(name).replace(b"\\", b"").replace(b'"', b"").replace(b"\n", b"") + b'"'


def write_files(folder, device, name):
    """Models, spaces, tables of splits, a device and a checkpoint that say the name wherever they can."""
    plain = name.replace("/", "_")
    raw, text, short = os.fsencode(name), quoted(name), quoted(name[-40:])
    config = b'"intermediate_size": 128, "num_attention_heads": 2, "vocab_size": 9'
    model = b'{"hidden_size": 64, %s, %s: %s, "model_type": %s}' % (config, text, text, text)
    for path, data in {
        f"model/{plain}.json": model,
        f"model/broken{plain}.json": b'{"hidden_size": %s, %s: {%s: [%s' % (text, text, text, text),
        "model/value.json": b'{"hidden_size": %s, %s}' % (text, config),
        f"space/{plain}.yaml": b"family: sm80\nvalues:\n  %s: [3]\n" % text,
        "space/value.yaml": b"family: sm80\nvalues:\n  stages: [%s]\n" % text,
        "space/family.yaml": b"family: %s\nvalues:\n  stages: [3]\n" % text,
        "space/configs.yaml": b"family: sm80\nconfigs:\n  - %s\n" % text,
        f"splits/{plain}.csv": b"layer,rows8,weight\n64x128,1,1\n%s,1,1\n" % raw,
        "splits/value.csv": b"layer,rows8,weight\n64x128,%s,%s\n" % (raw, raw),
        f"device/{plain}.yaml": re.sub(rb'(?m)^name: *"[^"]*"', lambda _: b"name: " + short, device),
        "device/key.yaml": device + b"%s: %s\n" % (text, text),
        f"checkpoint {plain}/config.json": model,
        f"checkpoint {plain}/model.safetensors": tensors(text),
    }.items():
        os.makedirs(os.path.dirname(f"{folder}/{path}"), exist_ok=True)
        with open(f"{folder}/{path}", "wb") as file:
            file.write(data)


if sys.argv[1] == "t4":
    write_t4(sys.argv[2], sys.argv[3], sys.argv[4])
elif sys.argv[1] == "files":
    with open(sys.argv[3], "rb") as file:
        description = file.read()
    for number, argument in enumerate(sys.argv[4:]):
        write_files(f"{sys.argv[2]}/{number}", description, argument)
else:
    for path in sys.stdin.read().split("\0"):
        fault = check(path) if path else None
        if fault:
            print(f"{path}: {ascii(fault)}")
