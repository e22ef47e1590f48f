"""Running exported agents: needs numpy and the native core, nothing else."""

from mast_edge.runtime.agent import Agent, AgentState, AgentStates, load_model

__all__ = ["Agent", "AgentState", "AgentStates", "load_model"]
