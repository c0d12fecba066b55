"""A peer without a library behind it: says what it is told, late, wrong, or not at all."""

import sys
import time

from peer_serve import serve


def load(setup):
    if setup["precision"] == "int8":
        raise ValueError("no int8\nhere")
    print("a library that talks on stdout")
    shift = 0.5 if setup["library"] == "liar" else 0.0

    def call():
        if setup["library"] == "dead" or (setup["library"] == "large" and setup["length"] > 64):
            sys.stderr.write("out of memory\n")
            sys.stderr.flush()
            sys.exit(3)
        time.sleep(setup.get("seconds", 0.0))
        return [[1.0 + shift, 2.0], [3.0, 4.0]]

    return call


if __name__ == "__main__":
    serve(load)
