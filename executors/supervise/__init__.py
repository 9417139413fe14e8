"""The process at the far side: starts one job, holds it to its limits, says how it ended.

Run as a folder, `python -I .../supervise JOB_DIR`, by an interpreter that may lack every package
of ours (a job's own, an ssh host's): standard library of Python 3.10 and later alone, no import
from outside this folder. `executors.contract` shares its records with the near side.
"""
