"""One short file per DVC stage: read parameters, call the pipeline, write outputs.

Their modules take seconds to import, and Ctrl-C ends a stage in one line then too: by a handler,
since an import may catch or print an exception. `pipeline.errors.run` takes it back.
"""

import signal
import sys

from pipeline.errors import end_interrupted

STARTED_AS_COMMAND = sys.argv[0] == "-m"
if STARTED_AS_COMMAND and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, end_interrupted)
