# METADATA
# title: NAME
# description: A person approves plans that send much.
# scope: package
# labels:
#   policy: NAME
package placement.NAME

params := data.params.NAME

# METADATA
# title: Plans that a person must approve
# entrypoint: true
# custom:
#   reads: plan
approval contains {"approvers": 1, "reason": $"more than {params.gb} GB to be sent"} if input.plan.gb > params.gb
