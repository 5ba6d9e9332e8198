"""
Priority and fairness: whose request runs now, whose waits, and whose is turned away.

`schemas` decide which flow a request belongs to, `limits` how many seats each priority level has, `level` who gets
them in which order; `controller` keeps all of that in step with the FlowSchemas and PriorityLevelConfigurations.
Source: k8s.io/apiserver, pkg/util/flowcontrol.
"""
