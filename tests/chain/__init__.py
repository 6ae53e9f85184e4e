"""The fault matrix (promise C17): the deployed chain with faults in each of its calls.

The definition of the workflow, its interpreter, the console's API, the circuit and the approvals
are the real ones. Only the platform is simulated, on a simulated clock.

- `faults`: the calls of the chain, and what can happen to a call.
- `happenings`: what happens at the same time.
- `kinds`: the kinds of circuits: the app's, and those of dependencies.
- `circuits`: the circuits of one process.
- `platform`, `event_grid`, `workflow_process`, `console_process`: the parts of the world.
- `world`: the parts together, and the operator.
- `cells`: the cells of the matrix.
- `judge`, `dependency_judge`: the promises, checked at the end of a cell.
- `alarms`: the alarms of the template, and the metrics that the platform emits.
- `table`: the page docs/fault-matrix.md.
"""
