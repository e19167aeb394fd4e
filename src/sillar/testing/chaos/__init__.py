"""Chaos: reads and writes while nodes are killed, frozen, cut off and demoted, and a ledger of what was lost.

::

    scenario = Scenario(
        "primary killed",
        (
            Step(2.0, Act("killed", primary.kill), down=(address,)),
            Step(2.5, Act("replica promoted", replica.promote)),
        ),
        duration_seconds=8,
    )
    report = await Run(scenario, manager).run()
    assert report.held, report.describe()
"""

from sillar.testing.chaos.client_faults import CLIENT_FAULTS, client_fault, proxied
from sillar.testing.chaos.faults import Act, BlackHole, CommandFault, Cut, Delay, Fault, Refusal, Together
from sillar.testing.chaos.handshakes import HandshakeProxy
from sillar.testing.chaos.paths import DirectPath, Path, SQLAlchemyPath, TortoisePath, open_paths
from sillar.testing.chaos.report import COLUMNS, Expectations, Report, table_row, table_text
from sillar.testing.chaos.scenario import Run, Scenario, Step
from sillar.testing.chaos.situation import Phase, Situation
from sillar.testing.chaos.witness import Witness
from sillar.testing.chaos.workload import Workload

__all__ = [
    "CLIENT_FAULTS",
    "COLUMNS",
    "Act",
    "BlackHole",
    "CommandFault",
    "Cut",
    "Delay",
    "DirectPath",
    "Expectations",
    "Fault",
    "HandshakeProxy",
    "Path",
    "Phase",
    "Refusal",
    "Report",
    "Run",
    "SQLAlchemyPath",
    "Scenario",
    "Situation",
    "Step",
    "Together",
    "TortoisePath",
    "Witness",
    "Workload",
    "client_fault",
    "open_paths",
    "proxied",
    "table_row",
    "table_text",
]
