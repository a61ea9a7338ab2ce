"""The formula screen and the source screen.

`token_facts` collects the recorded numbers of one token, `explain_view` draws a formula, its terms
and the branch taken (for other screens too), `view` the boxes.
Not here: formulas and explanations themselves (`algorithms`).
"""
