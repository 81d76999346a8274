#!/usr/bin/env python3
"""Two corpora of Debian packages as plain texts, each cut in two: the first 70 % to calibrate with, the rest to test on.

    tests/accuracy/corpus.py DIR OUT     DIR holds what dpkg-deb -x unpacked of anarchism and debian-handbook

writes OUT/anarchism.calibrate.txt, OUT/anarchism.test.txt and the same of handbook.
"""
import glob
import os
import re
import sys

sys.path.insert(1, os.path.join(os.path.dirname(__file__), "../../tuner/quantize"))
import texts  # noqa: E402

SHARE = 0.7


def anarchism(root):
    """Its pages, sorted by name."""
    pages = sorted(glob.glob(os.path.join(root, "usr/share/doc/anarchism/markdown/*.md.gz")))
    return "\n\n".join(texts.file_text(page) for page in pages)


def between_links(page):
    """What lies between the two bars of links of a page."""
    return page.split('<ul class="docnav top">')[-1].split("</ul>", 1)[-1].split('<ul class="docnav">')[0]


def handbook(root):
    """Its English pages, in the order of their contents."""
    folder = os.path.join(root, "usr/share/doc/debian-handbook/html/en-US")
    with open(os.path.join(folder, "index.html"), encoding="utf-8") as f:
        links = re.findall(r'href="([a-z][^"#/:]*\.html)', f.read())
    pages = [name for name in dict.fromkeys(links) if name != "index.html"]
    return "\n\n".join(texts.Stripped(between_links(texts.read(os.path.join(folder, name)))).text() for name in pages)


def write(path, text):
    with open(path + ".part", "w", encoding="utf-8") as f:
        f.write(text)
    os.replace(path + ".part", path)


def main():
    root, out = sys.argv[1:]
    os.makedirs(out, exist_ok=True)
    for name, text in (("anarchism", anarchism(root)), ("handbook", handbook(root))):
        if len(text) < 100000:
            sys.exit(f"corpus.py: {root} has {len(text)} characters of {name}; unpack the Debian package there")
        cut = text.index("\n", int(len(text) * SHARE)) + 1
        write(os.path.join(out, f"{name}.calibrate.txt"), text[:cut])
        write(os.path.join(out, f"{name}.test.txt"), text[cut:])


if __name__ == "__main__":
    main()
