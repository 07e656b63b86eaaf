"""Commands that change entries of params.yaml: `make new`, `make remove` and `make rename`."""

import signal
import sys

# So run, a command imports for a second before it can say anything: until then Ctrl-C ends it without a traceback.
if sys.argv[:1] == ["-m"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
