# METADATA
# title: Placement contract
# description: Every policy below this package is type-checked against the schemas of what it sees.
# scope: subpackages
# schemas:
#   - input: schema.input
#   - data.fleet: schema.fleet
# custom:
#   contract: 1
package placement
