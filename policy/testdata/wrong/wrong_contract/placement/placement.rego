# METADATA
# title: Placement
# scope: subpackages
# schemas:
# - input: schema.input
# - data.fleet: schema.fleet
# custom:
#   contract: 2
package placement
