"""Texts to calibrate with or to test on: from files and folders to windows of tokens.

    text = corpus_text("wikitext")                       # of a file, or of a folder's files in sorted order
    tokens = tokens_of(tokenizer, text)                  # a list of numbers
    samples = windows(tokens, count=128, length=2048, seed=0)

Plain text, HTML (its tags are left out), JSON and JSON lines with a field "text", each also as .gz; Parquet and Arrow
with a column "text" where pyarrow is installed. What cannot be used is a BadText, whose text is a sentence.
"""
import gzip
import html.parser
import json
import os
import random

from console import Trouble

PLAIN = (".txt", ".text", ".md", ".rst")
MARKUP = (".html", ".htm", ".xhtml")
LINES = (".json", ".jsonl")
TABLES = (".parquet", ".arrow")
ABOUT = {"dataset_info.json", "dataset_dict.json", "state.json"}  # what Hugging Face's folders say of themselves
MOST = 32 << 20  # characters that are read of a corpus: tokens of more take long, and samples are few
PIECE = 1 << 20  # characters that are made tokens at once


class BadText(Trouble):
    pass


class Stripped(html.parser.HTMLParser):
    """The text of a page: blocks end a line, spaces are one, what is preformatted keeps its lines."""

    HIDDEN = {"script", "style", "head", "template"}
    INLINE = {"a", "abbr", "b", "big", "cite", "code", "em", "font", "i", "img", "kbd", "q", "s", "samp", "small", "span",
              "strong", "sub", "sup", "tt", "u", "var"}

    def __init__(self, page):
        super().__init__()
        self.pieces, self.hidden, self.formatted = [], 0, 0
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.hidden += tag in self.HIDDEN
        self.formatted += tag == "pre"
        if tag not in self.INLINE:
            self.pieces.append("\n")

    def handle_endtag(self, tag):
        self.hidden -= tag in self.HIDDEN and self.hidden > 0
        self.formatted -= tag == "pre" and self.formatted > 0
        if tag not in self.INLINE:
            self.pieces.append("\n")

    def handle_data(self, data):
        if not self.hidden:
            self.pieces.append(data if self.formatted else data.replace("\n", " "))

    def text(self):
        lines = (" ".join(line.split()) for line in "".join(self.pieces).split("\n"))
        return "\n".join(line for line in lines if line)


def kind_of(path):
    """The suffix, without .gz."""
    return os.path.splitext(path.lower().removesuffix(".gz"))[1]


def read(path):
    opener = gzip.open if path.lower().endswith(".gz") else open
    with opener(path, "rb") as f:
        return f.read(4 * MOST).decode("utf-8", "replace")  # at most 4 bytes a character


def records(path):
    """The objects of a JSON file: a list of them, one, or one a line."""
    content = read(path)
    try:
        found = json.loads(content)
        return found if isinstance(found, list) else [found]
    except ValueError:
        pass
    found = []
    for number, line in enumerate(content.splitlines(), 1):
        try:
            found.append(json.loads(line or "null"))
        except ValueError as error:
            raise BadText(f"{path}, line {number}: no JSON ({error})") from None
    return found


def column(path):
    """The column "text" of a table."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise BadText(f"{path}: reading it needs the Python package pyarrow; install it, or give plain text") from None
    if kind_of(path) == ".parquet":
        table = pyarrow.parquet.read_table(path)
    else:
        table = pyarrow.ipc.open_stream(pyarrow.memory_map(path)).read_all()
    if "text" not in table.column_names:
        raise BadText(f'{path}: there is no column "text"; its columns are {", ".join(table.column_names)}')
    return [value for value in table.column("text").to_pylist() if value]


def file_text(path):
    kind = kind_of(path)
    if kind in TABLES:
        return "\n\n".join(column(path))
    if kind in LINES:
        texts = [r["text"] for r in records(path) if isinstance(r, dict) and isinstance(r.get("text"), str)]
        if not texts:
            raise BadText(f'{path}: nothing in it has a field "text"')
        return "\n\n".join(texts)
    return Stripped(read(path)).text() if kind in MARKUP else read(path)


def files_of(path):
    """Those of a folder that hold text, in sorted order; a file is itself, whatever it is called."""
    if not os.path.isdir(path):
        return [path]
    known = PLAIN + MARKUP + LINES + TABLES
    found = [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names
             if kind_of(name) in known and name not in ABOUT]
    if not found:
        raise BadText(f"{path}: no file in it ends with {', '.join(known)}, or one of them and .gz")
    return sorted(found)


def corpus_text(path):
    """The text of a file or of a folder's files, at most MOST characters of it."""
    texts, total = [], 0
    try:
        for file in files_of(path):
            texts.append(file_text(file))
            total += len(texts[-1])
            if total >= MOST:
                break
    except (OSError, EOFError) as error:
        raise BadText(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    return "\n\n".join(texts)[:MOST]


def tokens_of(tokenizer, text):
    """Tokens of a text, without those that mark its ends; cut at ends of lines, for tokenizers keep what they read."""
    tokens, start = [], 0
    while start < len(text):
        end = text.find("\n", start + PIECE) + 1 or len(text)
        tokens += tokenizer(text[start:end], add_special_tokens=False, verbose=False)["input_ids"]
        start = end
    return tokens


def windows(tokens, count, length, seed):
    """count random windows of length tokens, the same for the same seed. They may overlap."""
    if len(tokens) < length:
        raise BadText(f"there are {len(tokens)} tokens, too few for a sample of {length}: give more, or a smaller --length")
    rng = random.Random(str(seed))
    starts = [rng.randrange(len(tokens) - length + 1) for _ in range(count)]
    return [tokens[start : start + length] for start in starts]


def samples_of(options, tokenizer, config):
    """(samples: lists of tokens; [name, number of them] of each corpus). The samples of a corpus follow each other, so that
    those with even and with odd numbers are halves of every corpus."""
    length = min(options.length, getattr(config, "max_position_embeddings", None) or options.length)
    total, weight, samples, names = sum(w for _, w in options.text), 0, [], []
    for path, share in options.text:
        weight += share
        count = round(options.samples * weight / total) - len(samples)
        try:
            tokens = tokens_of(tokenizer, corpus_text(path))
            samples += windows(tokens, count, length, f"{options.seed} {len(names)}")
        except BadText as error:
            raise BadText(str(error) if str(error).startswith(path) else f"{path}: {error}") from None
        names.append([os.path.basename(os.path.normpath(path)), count])
    if max(map(max, samples)) >= config.vocab_size:
        raise BadText(f"the tokenizer knows more tokens than the model, {config.vocab_size}: they do not belong together")
    return samples, names
