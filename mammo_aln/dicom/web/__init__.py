"""DICOMweb: what a PACS holds, and its instances streamed to disk, each one whole or not at all."""
