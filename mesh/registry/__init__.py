"""The registry: relays the operator's signed generations, and answers for the current one."""
