"""Judging: from tables of predictions to figures that a reviewer accepts. A leaf: it imports no other room.

Entry points: `report.evaluate_files`, `compare_report.compare_files`, `calibration.fit_temperature`,
`calibration.apply_calibration`, `discrimination.choose_threshold`.
"""
