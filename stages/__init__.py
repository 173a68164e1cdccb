"""One short file per DVC stage: read parameters, call the pipeline, write outputs."""
