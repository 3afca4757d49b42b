"""System B: volumes and masks, or a table of features, to the clinical, radiomics, deep and DLR signatures."""
