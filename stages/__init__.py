"""One short file per DVC stage: read parameters, call the pipeline, write outputs.

The modules that they import take seconds to load, and Ctrl-C has to end a stage with one line even
then. A handler does that, because an import may catch or print an exception. `pipeline.errors.run`
restores Python's own handler.
"""

import signal
import sys

from pipeline.errors import end_interrupted

STARTED_AS_COMMAND = sys.argv[0] == "-m"
if STARTED_AS_COMMAND and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, end_interrupted)
