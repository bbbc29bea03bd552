import os
import time

from solver.backend import COMPILE_TIMEOUT_S, forget_interrupted


def test_a_compilation_that_was_stopped_does_not_hold_up_others_for_ever(tmp_path):
    old = time.time() - COMPILE_TIMEOUT_S - 10
    for name in ("libffcx_forms_stopped.c", "libffcx_forms_done.c", "libffcx_forms_running.c", "notes.c"):
        (tmp_path / name).write_text("")
        if "running" not in name:
            os.utime(tmp_path / name, (old, old))
    (tmp_path / "libffcx_forms_done.c.cached").write_text("")
    forget_interrupted(tmp_path)
    kept = {path.name for path in tmp_path.iterdir()}
    assert "libffcx_forms_stopped.c" not in kept
    assert {"libffcx_forms_done.c", "libffcx_forms_running.c", "notes.c"} <= kept
    forget_interrupted(tmp_path / "absent")
