"""Names of a bundle that Mandate itself knows; all others are the bundle's own."""

CRM_ACTION = "update_crm"
"""The one action that Mandate itself carries out, through the CRM sink: its grant is used as soon as it is given.

Every other action is carried out by the agent that asked. Mandate also does it in its own name, to record an opt-out.
The name stands in journals and grants, so it is permanent; lint tells of a bundle without it.
"""
