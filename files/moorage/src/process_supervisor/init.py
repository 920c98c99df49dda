"""`python -m process_supervisor.init`: begin as the guardian, see guardian/guard.py."""

from process_supervisor.guardian.guard import main

if __name__ == "__main__":
    main()
