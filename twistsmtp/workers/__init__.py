"""More than one process: ``twistd smtp --workers 4``.

The process that twistd starts is the parent. It opens the ports, gives up root, starts the workers, and takes no mail
itself. A worker is an interpreter of its own with the same configuration: a whole server, but for the ports, which it
inherits. So each of them accepts from the same queue, and one that is busy, stopped or gone keeps no client waiting.

`parent`
    The service of the parent.
`crew`, `process`
    The workers as the parent has them: started, watched, started again, drained; and one of them.
`worker`
    The worker itself.
`messages`, `logs`, `figures`
    What is said over the pipes between them; the log and the metrics of all, in one place.
`memory`, `failures`, `rates`
    What workers count together, in memory that all of them have.
`turns`
    Who of them accepts the next client.
"""
