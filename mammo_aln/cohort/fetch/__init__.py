"""Images of a PACS, by study, accession or patient, into a folder that `index` reads."""
