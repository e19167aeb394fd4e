"""What is current in this context; see :mod:`sillar.current`."""

from sillar.current import Entered, current_session, detached, enter, joined_transaction, leave

__all__ = ["Entered", "current_session", "detached", "enter", "joined_transaction", "leave"]
