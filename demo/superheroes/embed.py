#!/usr/bin/env python3
"""embed.py NAME JSON HEADER - the document, without white space, as an array."""
import json
import sys

name, source, header = sys.argv[1:]
with open(source, encoding="utf-8") as file:
    data = json.dumps(json.load(file), separators=(",", ":")).encode()
with open(header, "w", encoding="ascii") as file:
    file.write(f"/* Made from {name}.json. */\nstatic const char {name}[] = {{\n")
    for at in range(0, len(data), 16):
        file.write("\t" + " ".join(f"{byte}," for byte in data[at : at + 16]) + "\n")
    file.write("};\n")
