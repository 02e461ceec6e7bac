"""Hurts runs and looks at what becomes of them; installed into an environment of its own.

``python -m campaign_kit FOLDER`` plays the runs whose seeds it reads, one after another, and prints
a line of JSON for each; it is what ``test_campaign.py`` starts, several at once.
"""
