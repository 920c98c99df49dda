"""What the lean interpreters (-I -S) run: `boot.py guardian …` or `boot.py supervisor …`.

They have neither PYTHONPATH nor site-packages, so the path is set here. And this file is short,
because the file that an interpreter runs is compiled anew each time, which costs a megabyte for a
long one; what it imports is not.

It stays where it is: a guardian that runs while the package is exchanged looks for it here. And
where YAML is read this directory comes before the standard library, so that nothing in it may be
called like a module of that.
"""

import sys

sys.path.insert(0, __file__.rpartition("/")[0].rpartition("/")[0])

if __name__ == "__main__":
    role, arguments = sys.argv[1], sys.argv[2:]
    if role == "guardian":
        from process_supervisor.guardian.guard import Guard

        sys.exit(Guard(arguments).run())
    from process_supervisor.daemon import main

    sys.exit(main(arguments))
