# METADATA
# title: NAME
# description: Scores sites by the price of energy there.
# scope: package
# labels:
#   policy: NAME
package placement.NAME

params := data.params.NAME

# METADATA
# title: Sites by price
# entrypoint: true
# custom:
#   reads: fleet
site_score contains {"site": site.id, "score": score, "reason": $"energy below {params.dear_mwh} EUR/MWh by {tenths} tenths"} if {
	some site in data.fleet.sites
	is_number(site.price_mwh)

	# Rounded to tenths, so that an opinion lasts.
	tenths := round(10 * (1 - (site.price_mwh / params.dear_mwh)))
	score := max([-1, min([1, tenths / 10])])
}
