# Single files are read where they are: of each image, only the header is requested.
#
#     snakemake --cores 1 --snakefile examples/snakemake/headers.smk --config plan=study.plan.jsonl
import bidsplan
import nibabel


rule shapes:
    input:
        config["plan"],
    output:
        "results/shapes.tsv",
    run:
        fs = bidsplan.filesystem(input[0])
        with open(output[0], "w") as table:
            for path in fs.glob("sub-*/**/*.nii.gz"):
                with fs.open(path, compression="gzip") as file:
                    shape = nibabel.Nifti1Image.from_stream(file).shape
                print(path, *shape, sep="\t", file=table)
