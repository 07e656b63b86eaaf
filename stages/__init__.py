"""The stages of the pipeline: each file here is one, run as `python -m stages.NAME ARGUMENT`."""

import signal
import sys

# So run, a stage imports for seconds before it can say anything: until then Ctrl-C ends it without a traceback.
if sys.argv[:1] == ["-m"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
