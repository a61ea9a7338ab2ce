"""The header's notices for events that are rare and that the user waits for."""

from __future__ import annotations

from grpolab.record import events as ev
from grpolab.tui.context import AppContext


def at_the_end(context: AppContext) -> str:
    """What can be done at the run's end."""
    key = context.keymap.shown
    more = f"{context.state.more:,} more step{'s' * (context.state.more > 1)}"
    return (
        f"Run finished. {key('pause')} {more} · {key('algorithm')} switch algorithm and continue · "
        f"{key('quit')} quit"
    )


def announce(context: AppContext, event: ev.Event, overlay_open: bool) -> None:
    """Say in the header that an event came. `overlay_open`: a screen over the lab shows the answers
    to questions itself."""
    match event:
        case ev.Switched():
            names = f"{event.before.upper()} → {event.after.upper()}"
            fresh = f"; reset {', '.join(event.reset)}" if event.reset else ""
            context.say(f"{names}: kept {', '.join(event.kept)}{fresh}", "accent")
        case ev.LaneOpened() if event.parent:
            context.say(f"lane {event.lane} forked from {event.parent}", "accent")
        case ev.Refused():
            context.answered(str(event.command.get("do")), event.command.get("lane"))
            context.say(f"refused: {event.reason}", "bad")
        case ev.Relieved():
            context.say(event.what, "bad")
        case ev.LensMade():
            context.answered("lens", event.lane)
            if not overlay_open:
                context.say(
                    f"lens of step {event.step} ready: press {context.keymap.shown('lens')}"
                )
        case ev.After():
            context.answered("after", event.lane)
        case ev.KlBenched():
            context.answered("kl-bench", event.lane)
            if not overlay_open:
                key = context.keymap.shown("kl_bench")
                context.say(f"KL bench of step {event.step} ready: press {key}")
        case ev.SettingChanged():
            context.say(f"{event.key}: {event.before} → {event.after}", "accent")
        case ev.Extended():
            told = f"{event.before} → {event.after} steps"
            context.say(f"{told}: {event.note}" if event.note else told, "accent")
        case ev.Paused(origin="end"):
            if context.mode == "live":
                context.say(at_the_end(context), "good")
        case ev.Checkpointed():
            if context.mode == "live":
                context.say(f"checkpoint at step {event.step}")
        case ev.CriticChanged(state="warm"):
            context.say("the critic's warm-up is over", "good")
        case ev.Ended(status="done"):
            context.say(f"Run finished. {context.keymap.shown('quit')} quit", "good")
