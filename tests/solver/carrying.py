"""Acts carried out one after the other."""


def carry_out(field, *acts, frame_s=0.1):
    """The last frame of the last of some acts."""
    for act in acts:
        frames = list(act.run(field, frame_s=frame_s))
    return frames[-1]
