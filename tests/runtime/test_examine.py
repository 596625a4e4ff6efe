"""Every node answers for itself, from a task of Ray, with what Ray offers there."""

import socket

from orchestrator.runtime.cluster.connect import Connection
from orchestrator.runtime.cluster.examine import examine_nodes


def test_each_node_is_looked_at_from_a_task_on_it(cluster: Connection) -> None:
    ((report, offered),) = examine_nodes("auto", "NPU")
    assert (report.host, offered) == (socket.gethostname(), 5.0)
    assert [finding.subject for finding in report.findings][:2] == ["Python", "ray"]
