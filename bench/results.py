"""What the benches share: a cluster for as long as it is measured, and what becomes of the figures."""
import contextlib, json, os, subprocess, sys


@contextlib.contextmanager
def cluster(build, env, *options):
    """A local cluster named bench in env's LEGO_HOME; the words before a program that is to run there. Ends all if there can be none."""
    lego = build + "/cli/lego"
    up = subprocess.run([lego, "up", "bench", *options], env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if up.returncode:
        sys.exit("bench: lego up failed: " + (up.stderr or up.stdout).strip())
    try:
        yield [lego, "run", "--cluster", "bench"]
    finally:
        subprocess.run([lego, "down", "bench"], env=env, capture_output=True, stdin=subprocess.DEVNULL)


def keep(build, name, got, text, write=None):
    """got goes to BUILD/bench/NAME.json, text to the terminal and, where asked for, to the file write."""
    os.makedirs(build + "/bench", exist_ok=True)
    with open(f"{build}/bench/{name}.json", "w") as f:
        json.dump(got, f, indent=1)
    print(text)
    if write:
        with open(write, "w") as f:
            f.write(text)
