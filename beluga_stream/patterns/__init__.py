"""Ready graphs for what agents do together. Each takes plain callables, and runs wherever graphs run.

Every decision and every turn is an execution of its own: seen, retried, and taken over by another worker when one dies.
A pipeline of agents is `beluga_stream.chain`.
"""

from .agent import as_agent
from .blackboard import Board, Source, blackboard
from .budget import Budget
from .chat import ChatModel
from .debate import debate
from .evaluator import Verdict, evaluator
from .handoff import Handoff, handoff
from .planner import Plan, Progress, plan_execute
from .router import router
from .scatter import scatter_gather
from .supervisor import Assign, Finish, supervisor
from .transcript import Agent, Reply, Transcript, Turn, Usage

__all__ = [
    "Agent",
    "Assign",
    "Board",
    "Budget",
    "ChatModel",
    "Finish",
    "Handoff",
    "Plan",
    "Progress",
    "Reply",
    "Source",
    "Transcript",
    "Turn",
    "Usage",
    "Verdict",
    "as_agent",
    "blackboard",
    "debate",
    "evaluator",
    "handoff",
    "plan_execute",
    "router",
    "scatter_gather",
    "supervisor",
]
